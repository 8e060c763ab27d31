;; expect: refused that is not `hospes:plugin/inference`'s
;; exports: hospes:plugin/inference@0.1.0#infer
(component
  (core module $m (func (export "infer") (param i32)))
  (core instance $i (instantiate $m))
  (func $infer (param "inputs" u32) (canon lift (core func $i "infer")))
  (instance $n (export "infer" (func $infer)))
  (export "hospes:plugin/inference@0.1.0" (instance $n)))
