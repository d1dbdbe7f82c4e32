job "j" {
  group "g" {
    task "t" {
      driver = "x"
    }
    task "t" {
      driver = "y"
    }
  }
}
