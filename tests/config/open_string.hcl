data_dir = "/d
name = "x"
