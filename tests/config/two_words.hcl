data_dir "/d"
