job "j" {
  priority = "high"
}
