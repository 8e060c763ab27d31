;; expect: refused
(component
  (import "c" (core module $c))
  (core instance (instantiate $c))
  (core module $m (func (export "run")))
  (core instance $i (instantiate $m))
  (func (export "run") (canon lift (core func $i "run"))))
