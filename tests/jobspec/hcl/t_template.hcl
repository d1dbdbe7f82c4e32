job "j" {
  group "g" {
    task "t" {
      driver = "raw_exec"
      template {
        data        = <<EOF
port = {{ env "NOMAD_PORT_http" }}
EOF
        destination = "local/c.conf"
        change_mode = "signal"
        change_signal = "SIGHUP"
        perms       = "600"
      }
    }
  }
}
