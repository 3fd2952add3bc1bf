"""Questions to services that are to stand behind the balancer: `ocr-tcp-lb doctor`.

`probe` asks one question over HTTP, `examine` asks all of them and says what the answers mean, `sample` sends an image
and has `concurrency` measure how many at once a service really works on. `findings` is what comes of it, `show` prints
it all and a configuration to use.
"""
