def make_demo(cache): raise SystemExit
def report(run): print(run.bank.path)
