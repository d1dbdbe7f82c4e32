client {
  servers = [{ a = 1 }]
}
