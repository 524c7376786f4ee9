"""Who is in the company: the people of a large one are made by arithmetic when they are asked for."""
