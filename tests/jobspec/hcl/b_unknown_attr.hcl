job "j" {
  prioritty = 5
}
