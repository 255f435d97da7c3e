def show(x):
    pass
