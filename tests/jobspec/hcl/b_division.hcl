job "j" {
  priority = 1 / 0
}
