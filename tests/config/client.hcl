data_dir   = "/opt/nomad"
datacenter = "edge-7"
region     = "eu"
name       = "box"

client {
  enabled    = true
  servers    = ["10.0.0.1", "10.0.0.2:4647"]
  node_class = "gateway"
  node_pool  = "edge"

  meta {
    rack        = "r1"
    "site.name" = "north"
    rank        = 3
    spare       = true
  }

  options = {
    "driver.raw_exec.enable" = "1"
  }

  reserved {
    cpu            = 100
    memory         = 64
    disk           = 1024
    reserved_ports = "22,80,8000-9000"
  }

  min_dynamic_port = 30000
  max_dynamic_port = 31000
  max_kill_timeout = "1m"
  network_interface = "eth0"

  template {
    wait {
      min = "2s"
      max = "10s"
    }
    max_stale = "1h"
  }
}
