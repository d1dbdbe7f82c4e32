job "j" {
  priority = var.nope
}
