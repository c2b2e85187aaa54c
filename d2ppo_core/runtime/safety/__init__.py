"""What a command may do: limits of the robot, shapes of the cell, and the filter that holds them."""
