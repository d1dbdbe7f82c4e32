server {
  enabled = true
  client_introduction {
    enforcement          = "strict"
    default_identity_ttl = "1m"
    max_identity_ttl     = "2m"
  }
}
client {
  intro_token = "a.b-c.d_e"
}
data_dir = "/var/lib/vardo"
