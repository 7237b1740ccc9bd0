-- A customer is a Stripe customer that ever had a subscription. Each other system's record joins by the strongest
-- rule that holds: it names the customer, it names the same workspace, or it shares the mail domain.
with

stripe_customers as (

    select * from {{ ref('stg_stripe__customers') }}

),

subscriptions as (

    select * from {{ ref('stg_stripe__subscriptions') }}

),

companies as (

    select * from {{ ref('stg_hubspot__companies') }}

),

organizations as (

    select * from {{ ref('stg_zendesk__organizations') }}

),

organization_domains as (

    select * from {{ ref('stg_zendesk__domains') }}

),

workspaces as (

    select * from {{ ref('stg_segment__groups') }}

),

internal_domains as (

    select * from {{ ref('internal_domains') }}

),

subscribers as (

    select distinct stripe_customer_id
    from subscriptions

),

-- who ever bought or tried, without our own test accounts
subscribed as (

    select
        stripe_customers.stripe_customer_id as customer_id,
        stripe_customers.customer_name,
        stripe_customers.workspace_id,
        stripe_customers.country,
        stripe_customers.currency,
        stripe_customers.created_at,
        {{ email_domain('stripe_customers.email') }} as billing_domain
    from stripe_customers
    inner join subscribers
        on stripe_customers.stripe_customer_id = subscribers.stripe_customer_id
    left join internal_domains
        on {{ email_domain('stripe_customers.email') }} = internal_domains.domain
    where internal_domains.domain is null

),

-- every rule by which a company can belong to a customer, strongest first
company_candidates as (

    select
        subscribed.customer_id,
        companies.hubspot_company_id,
        1 as rule_rank
    from subscribed
    inner join companies
        on subscribed.customer_id = companies.stripe_customer_id

    union all

    select
        subscribed.customer_id,
        companies.hubspot_company_id,
        2 as rule_rank
    from subscribed
    inner join companies
        on subscribed.workspace_id = companies.workspace_id

    union all

    select
        subscribed.customer_id,
        companies.hubspot_company_id,
        3 as rule_rank
    from subscribed
    inner join companies
        on subscribed.billing_domain = companies.domain

),

ranked_companies as (

    select
        customer_id,
        hubspot_company_id,
        row_number() over (
            partition by customer_id
            order by rule_rank, hubspot_company_id
        ) as customer_rank,
        row_number() over (
            partition by hubspot_company_id
            order by rule_rank, customer_id
        ) as company_rank
    from company_candidates

),

with_company as (

    select
        subscribed.customer_id,
        subscribed.customer_name,
        subscribed.currency,
        subscribed.created_at,
        companies.hubspot_company_id,
        companies.industry,
        companies.employees,
        companies.owner_id,
        companies.renewal_date,
        companies.contract_term_months,
        coalesce(companies.domain, subscribed.billing_domain) as domain,
        coalesce(companies.country, subscribed.country) as country,
        coalesce(subscribed.workspace_id, companies.workspace_id) as named_workspace_id
    from subscribed
    left join ranked_companies
        on
            subscribed.customer_id = ranked_companies.customer_id
            and ranked_companies.customer_rank = 1
            and ranked_companies.company_rank = 1
    left join companies
        on ranked_companies.hubspot_company_id = companies.hubspot_company_id

),

-- a workspace that nobody names is found by the mail domain of its members
workspaces_by_domain as (

    select
        domain,
        min(workspace_id) as workspace_id
    from workspaces
    where domain is not null
    group by domain
    having count(distinct workspace_id) = 1

),

with_workspace as (

    select
        with_company.*,
        coalesce(with_company.named_workspace_id, workspaces_by_domain.workspace_id) as workspace_id
    from with_company
    left join workspaces_by_domain
        on with_company.domain = workspaces_by_domain.domain

),

organization_candidates as (

    select
        with_workspace.customer_id,
        organizations.zendesk_organization_id,
        1 as rule_rank
    from with_workspace
    inner join organizations
        on with_workspace.workspace_id = organizations.workspace_id

    union all

    select
        with_workspace.customer_id,
        organization_domains.zendesk_organization_id,
        2 as rule_rank
    from with_workspace
    inner join organization_domains
        on with_workspace.domain = organization_domains.domain

),

ranked_organizations as (

    select
        customer_id,
        zendesk_organization_id,
        row_number() over (
            partition by customer_id
            order by rule_rank, zendesk_organization_id
        ) as customer_rank,
        row_number() over (
            partition by zendesk_organization_id
            order by rule_rank, customer_id
        ) as organization_rank
    from organization_candidates

),

-- two customers that claim one workspace are kept apart: the older one has it
ranked_workspaces as (

    select
        with_workspace.*,
        row_number() over (
            partition by workspace_id
            order by created_at, customer_id
        ) as workspace_rank
    from with_workspace

),

final as (

    select
        ranked_workspaces.customer_id,
        case when ranked_workspaces.workspace_rank = 1 then ranked_workspaces.workspace_id end as workspace_id,
        ranked_workspaces.hubspot_company_id,
        ranked_organizations.zendesk_organization_id,
        ranked_workspaces.customer_name,
        ranked_workspaces.domain,
        ranked_workspaces.country,
        ranked_workspaces.industry,
        ranked_workspaces.employees,
        ranked_workspaces.currency,
        ranked_workspaces.owner_id,
        ranked_workspaces.contract_term_months,
        ranked_workspaces.renewal_date,
        ranked_workspaces.created_at
    from ranked_workspaces
    left join ranked_organizations
        on
            ranked_workspaces.customer_id = ranked_organizations.customer_id
            and ranked_organizations.customer_rank = 1
            and ranked_organizations.organization_rank = 1

)

select * from final
