;; expect: refused that plugins may not have
(component
  (import "wasi:sockets/everything@9.9.9" (instance $s (export "open" (func))))
  (import "acme:secret/door@1.0.0" (instance $d (export "open" (func))))
  (core module $m (func (export "run")))
  (core instance $i (instantiate $m))
  (func (export "run") (canon lift (core func $i "run"))))
