job "j" {
  group "g" {
    task "t" {
      driver = "raw_exec"
      identity {
        name = "x"
        aud  = ["a"]
        ttl  = "1h"
        file = true
      }
    }
  }
}
