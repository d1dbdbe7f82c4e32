server {
  enabled = true
}
data_dir = "/var/lib/vardo"
tls {
  http      = true
  cert_file = "/etc/vardo/cert.pem"
}
