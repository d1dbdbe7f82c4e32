datadir = "/d"
