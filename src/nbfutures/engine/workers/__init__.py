"""Workers in other processes: what goes to them and comes back, and what they find there."""
