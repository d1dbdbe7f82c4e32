# Every kind of value and most blocks.
variable "image" {
  type        = string
  default     = "web:1"
  description = "What to run"
}
variable "ports" {
  type    = map(number)
  default = { http = 8080, admin = 9090 }
}
variable "envs" {
  type    = list(object({ name = string, value = string }))
  default = [{ name = "A", value = "1" }, { name = "B", value = "2" }]
}
locals {
  title = upper(local.base)
  base  = "web-${var.image}"
}
job "web" {
  region      = "global"
  datacenters = ["dc1", "dc2"]
  type        = "service"
  priority    = 70
  meta {
    title = local.title
    n     = 3
  }
  constraint {
    attribute = attr.kernel.name
    value     = "linux"
  }
  constraint {
    distinct_hosts = true
  }
  constraint {
    attribute    = "${meta.rack}"
    set_contains = "r1,r2"
  }
  affinity {
    attribute = "${node.class}"
    value     = "big"
    weight    = 80
  }
  spread {
    attribute = "${node.datacenter}"
    target "dc1" {
      percent = 60
    }
    target "dc2" {
      percent = 40
    }
  }
  update {
    max_parallel      = 2
    min_healthy_time  = "5s"
    progress_deadline = "1h30m"
    canary            = 1
    auto_revert       = true
  }
  group "g" {
    count = 2 + 1
    network {
      mode = "bridge"
      dynamic "port" {
        for_each = var.ports
        labels   = [port.key]
        content {
          to = port.value
        }
      }
      port "fixed" {
        static = 80
      }
    }
    restart {
      attempts = 3
      delay    = 15000000000
    }
    service {
      name     = "web"
      provider = "nomad"
      port     = "http"
      tags     = ["a", "b-${NOMAD_ALLOC_INDEX}"]
      check {
        type     = "http"
        path     = "/health"
        interval = "10s"
        timeout  = "2s"
        header {
          Authorization = ["x"]
        }
      }
    }
    volume "data" {
      type   = "host"
      source = "data"
    }
    task "t" {
      driver = "raw_exec"
      config {
        command = "/bin/sh"
        args    = ["-c", "echo ${NOMAD_META_title} $${literal}"]
        mount {
          type   = "bind"
          source = "x"
        }
        mount {
          type = "tmpfs"
        }
      }
      env = { for e in var.envs : e.name => "${e.name}=${e.value}" }
      template {
        data        = <<-EOF
          hello {{ env "NOMAD_TASK_NAME" }}
            indented
          EOF
        destination = "local/hello"
      }
      identity {
        env = true
      }
      identity {
        name = "other"
        aud  = ["x"]
        ttl  = "1h"
      }
      resources {
        cpu    = 500
        memory = 256
        device "nvidia/gpu" {
          count = 2
          constraint {
            attribute = "${device.attr.memory}"
            operator  = ">="
            value     = "2 GiB"
          }
        }
      }
      kill_timeout = "10s"
      leader       = true
    }
  }
}
