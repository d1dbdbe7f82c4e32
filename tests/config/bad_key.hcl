data_dir = "/d"
server {
  enabled = true
  boostrap_expect = 1
}
