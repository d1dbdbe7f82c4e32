server = 5
