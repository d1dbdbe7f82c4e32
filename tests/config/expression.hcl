data_dir = file("x")
