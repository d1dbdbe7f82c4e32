job "j" {
  region = nope("x")
}
