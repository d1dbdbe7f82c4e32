/* a
b */ data_dir = "/d" // c
# d
server { # e
  enabled = true /* f */ }
