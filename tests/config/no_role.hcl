data_dir = "/d"
