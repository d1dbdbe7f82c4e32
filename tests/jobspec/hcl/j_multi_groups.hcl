job "j" {
  group "a" {
    count = 0
  }
  group "b" {
    task "x" {
      driver = "mock_driver"
    }
    task "y" {
      driver = "mock_driver"
    }
  }
}
