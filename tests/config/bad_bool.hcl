server {
  enabled = 3
}
