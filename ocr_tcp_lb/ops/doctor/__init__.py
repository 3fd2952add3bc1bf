"""Questions to services that are to stand behind the balancer: `ocr-tcp-lb doctor`.

`probe` asks one question over HTTP, `examine` asks all of them and says what the answers mean, `concurrency` measures
how many requests at once a service really works on, `show` prints it all and a configuration to use.
"""
