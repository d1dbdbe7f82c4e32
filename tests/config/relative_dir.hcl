server { enabled = true }
data_dir = "x"
