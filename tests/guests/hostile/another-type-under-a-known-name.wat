;; expect: refused that plugins may not have
;; Declares that `terms` takes a pointer and returns a number.
(component
  (import "hospes:plugin/call@0.1.0" (instance $call (export "terms" (func (param "at" u32) (result u32)))))
  (core module $m (func (export "run")))
  (core instance $i (instantiate $m))
  (func (export "run") (canon lift (core func $i "run"))))
