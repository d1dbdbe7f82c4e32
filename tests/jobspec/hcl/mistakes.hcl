job "x" {
  priorty = 5
  groop "g" {
  }
  group "g" {
    count = "many"
    shutdown_delay = "5 parsecs"
    task {
      driver = "d"
    }
  }
  update = 3
  datacenters {
  }
}
