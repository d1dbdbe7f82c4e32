job "x" {
  network { port "p" {} }
}
