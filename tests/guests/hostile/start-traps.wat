;; expect: refused trap
(module (func $s unreachable) (start $s) (func (export "run")))
