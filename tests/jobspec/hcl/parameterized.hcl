job "encode" {
  type = "batch"
  parameterized {
    payload       = "required"
    meta_required = ["dispatcher"]
  }
  group "g" {
    task "t" {
      driver = "raw_exec"
      dispatch_payload {
        file = "config.json"
      }
      lifecycle {
        hook    = "prestart"
        sidecar = true
      }
    }
  }
}
