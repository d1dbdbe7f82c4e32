# Other regions by the addresses of their servers.
data_dir = "/d"
region   = "east"

server {
  enabled = true
}

region_addresses {
  west  = "https://west.example.com"
  south = "http://[fd00::1]:14646/"
}

region_ca_file = "/etc/vardo/west.pem"
