-- Every rule by which a record of another system can belong to a customer, and which of the claims hold. A customer has
-- at most one record of each kind and a record at most one customer: the stronger rule wins, then the older customer.
-- What loses is kept and marked, never merged by guess.
with

customers as (

    select * from {{ ref('int_customers__eligible') }}

),

companies as (

    select
        every_source.*,
        case source_name when 'hubspot' then 'company' else 'account' end as record_kind
    from {{ sources_union(
        {'hubspot': 'stg_hubspot__companies', 'salesforce': 'stg_salesforce__accounts'},
        {
            'company_id': dbt.type_string(),
            'stripe_customer_id': dbt.type_string(),
            'workspace_id': dbt.type_string(),
            'domain': dbt.type_string(),
        },
        {'hubspot': {'company_id': 'hubspot_company_id'}, 'salesforce': {'company_id': 'salesforce_account_id'}},
    ) }}

),

organizations as (

    select
        every_source.*,
        case source_name when 'zendesk' then 'organization' else 'intercom_company' end as record_kind
    from {{ sources_union(
        {'zendesk': 'stg_zendesk__organizations', 'intercom': 'stg_intercom__companies'},
        {'organization_id': dbt.type_string(), 'workspace_id': dbt.type_string()},
        {
            'zendesk': {'organization_id': 'zendesk_organization_id'},
            'intercom': {'organization_id': 'intercom_company_id'},
        },
    ) }}

),

organization_domains as (

    select
        every_source.*,
        case source_name when 'zendesk' then 'organization' else 'intercom_company' end as record_kind
    from {{ sources_union(
        {'zendesk': 'stg_zendesk__domains', 'intercom': 'stg_intercom__companies'},
        {'organization_id': dbt.type_string(), 'domain': dbt.type_string()},
        {
            'zendesk': {'organization_id': 'zendesk_organization_id'},
            'intercom': {'organization_id': 'intercom_company_id'},
        },
    ) }}

),

groups as (

    select *
    from {{ sources_union(
        {'segment': 'stg_segment__groups', 'posthog': 'stg_posthog__groups'},
        {'workspace_id': dbt.type_string(), 'domain': dbt.type_string()},
    ) }}

),

-- a domain that members of two workspaces share says nothing
workspace_domains as (

    select
        domain,
        min(workspace_id) as workspace_id
    from groups
    where domain is not null
    group by domain
    having count(distinct workspace_id) = 1

),

workspace_claims as (

    select
        customer_id,
        'workspace' as record_kind,
        workspace_id as record_id,
        1 as rule_rank,
        'named by billing' as rule,
        workspace_id as evidence
    from customers
    where workspace_id is not null

    union all

    select
        customers.customer_id,
        'workspace' as record_kind,
        companies.workspace_id as record_id,
        2 as rule_rank,
        'named by the company of the customer' as rule,
        companies.company_id as evidence
    from customers
    inner join companies
        on customers.customer_id = companies.stripe_customer_id
    where companies.workspace_id is not null

    union all

    select
        customers.customer_id,
        'workspace' as record_kind,
        workspace_domains.workspace_id as record_id,
        3 as rule_rank,
        'shares the mail domain' as rule,
        workspace_domains.domain as evidence
    from customers
    inner join workspace_domains
        on customers.domain = workspace_domains.domain

),

{{ ranked_claims('workspace_claims') }}

-- what names a workspace belongs to whose workspace it is; billing's word is heard again, so that a conflict is listed
known_workspaces as (

    select
        customer_id,
        record_id as workspace_id
    from workspace_claims_ranked
    where
        rank_for_customer = 1
        and rank_for_record = 1

    union distinct

    select
        customer_id,
        workspace_id
    from customers
    where workspace_id is not null

),

record_claims as (

    select
        customers.customer_id,
        companies.record_kind,
        companies.company_id as record_id,
        1 as rule_rank,
        'names the customer' as rule,
        companies.stripe_customer_id as evidence
    from customers
    inner join companies
        on customers.customer_id = companies.stripe_customer_id

    union all

    select
        customers.customer_id,
        companies.record_kind,
        companies.company_id as record_id,
        2 as rule_rank,
        'names the same workspace' as rule,
        companies.workspace_id as evidence
    from customers
    inner join known_workspaces
        on customers.customer_id = known_workspaces.customer_id
    inner join companies
        on known_workspaces.workspace_id = companies.workspace_id

    union all

    select
        customers.customer_id,
        companies.record_kind,
        companies.company_id as record_id,
        3 as rule_rank,
        'shares the mail domain' as rule,
        companies.domain as evidence
    from customers
    inner join companies
        on customers.domain = companies.domain

    union all

    select
        customers.customer_id,
        organizations.record_kind,
        organizations.organization_id as record_id,
        1 as rule_rank,
        'names the same workspace' as rule,
        organizations.workspace_id as evidence
    from customers
    inner join known_workspaces
        on customers.customer_id = known_workspaces.customer_id
    inner join organizations
        on known_workspaces.workspace_id = organizations.workspace_id

    union all

    select
        customers.customer_id,
        organization_domains.record_kind,
        organization_domains.organization_id as record_id,
        2 as rule_rank,
        'shares the mail domain' as rule,
        organization_domains.domain as evidence
    from customers
    inner join organization_domains
        on customers.domain = organization_domains.domain

),

{{ ranked_claims('record_claims') }}

ranked as (

    select * from workspace_claims_ranked

    union all

    select * from record_claims_ranked

),

final as (

    select
        customer_id,
        record_kind,
        record_id,
        rule,
        evidence,
        rank_for_customer = 1 and rank_for_record = 1 as is_kept
    from ranked

)

select * from final
