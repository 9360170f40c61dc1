"""Training: one loop, and the two tasks that it serves.

``fit.fit`` trains a ``job.Job``; ``task.TASKS`` has what differs by task; ``run`` is what a method sees.
``checkpoint`` keeps and resumes, ``predict.predict_folder`` applies what was trained. Importing this package imports no torch.
"""
