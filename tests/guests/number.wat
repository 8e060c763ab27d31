;; world: export same: func(v: u8) -> u8;
;; Returns its argument, to measure the host and its JSON.
(module
  (memory (export "memory") 1)
  (func (export "same") (param i32) (result i32) (local.get 0)))
