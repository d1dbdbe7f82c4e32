server {
  enabled = true
}
data_dir = "/var/lib/vardo"
leave_on_interrupt = true
leave_on_terminate = true
enable_debug = true
disable_update_check = true
