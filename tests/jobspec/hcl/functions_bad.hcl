job "x" {
  region = file("/etc/passwd")
  name = uper("a")
  priority = 10 / 0
}
