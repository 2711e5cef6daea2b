def run(context, directory):
    pass
