//! Each pass against what it promises: the numbers, what tract computes, and files that it leaves as they are.
