"""What the test of the stack asks the local AWS, with a client that nobody here wrote. Prints JSON.

    stack_client.py ENDPOINT COMMAND ARGUMENT…
"""
import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint, command, *arguments = sys.argv[1:]


def client(service, key="test", secret="test"):
    return boto3.client(
        service, endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=secret,
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
    )


def outputs(stack):
    described = client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return {"status": described["StackStatus"]} | {o["OutputKey"]: o["OutputValue"] for o in described["Outputs"]}


def role(name):
    """A role that Lambda may take, and that may do nothing."""
    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
    client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))


def batches(action, queue):
    """A policy that AWS needs nowhere: there the right to do something is the right to do it in batches."""
    allow = {"Effect": "Allow", "Action": f"sqs:{action}Batch", "Resource": f"arn:aws:sqs:us-east-1:000000000000:{queue}"}
    return json.dumps({"Version": "2012-10-17", "Statement": [allow]})


def user(name, policy, queue):
    """A user with this policy and nothing else, and its key."""
    iam = client("iam")
    iam.create_user(UserName=name)
    iam.attach_user_policy(UserName=name, PolicyArn=policy)
    iam.put_user_policy(UserName=name, PolicyName="batches", PolicyDocument=batches("DeleteMessage", queue))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"id": key["AccessKeyId"], "secret": key["SecretAccessKey"]}


def attempt(key, secret, service, operation, parameters):
    """Whether somebody may do something: the error's code, or nothing."""
    try:
        getattr(client(service, key, secret), operation)(**json.loads(parameters))
        return None
    except ClientError as error:
        return error.response["Error"]["Code"]


def ask(service, operation, parameters):
    answer = getattr(client(service), operation)(**json.loads(parameters))
    answer.pop("ResponseMetadata", None)
    return answer


def tell_function(function, variables, queue):
    """Adds to the environment that the template gave it, and what its role lacks here alone."""
    functions = client("lambda")
    configuration = functions.get_function_configuration(FunctionName=function)
    environment = configuration["Environment"]["Variables"]
    client("iam").put_role_policy(
        RoleName=configuration["Role"].split("/")[-1], PolicyName="batches",
        PolicyDocument=batches("ChangeMessageVisibility", queue))
    functions.update_function_configuration(
        FunctionName=function, Environment={"Variables": environment | json.loads(variables)})


def replace_function(function, package):
    with open(package, "rb") as file:
        client("lambda").update_function_code(FunctionName=function, ZipFile=file.read())


print(json.dumps(globals()[command](*arguments), default=str))
