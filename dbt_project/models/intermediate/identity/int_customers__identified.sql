-- A customer with the records of the other systems that belong to it.
with

customers as (

    select * from {{ ref('int_customers__eligible') }}

),

links as (

    select * from {{ ref('int_customer_links__resolved') }}

),

companies as (

    select * from {{ ref('stg_hubspot__companies') }}

),

kept as (

    select
        customer_id,
        max(case when record_kind = 'workspace' then record_id end) as workspace_id,
        max(case when record_kind = 'company' then record_id end) as hubspot_company_id,
        max(case when record_kind = 'organization' then record_id end) as zendesk_organization_id
    from links
    where is_kept
    group by customer_id

),

final as (

    select
        customers.customer_id,
        kept.workspace_id,
        kept.hubspot_company_id,
        kept.zendesk_organization_id,
        customers.customer_name,
        coalesce(companies.domain, customers.domain) as domain,
        coalesce(companies.country, customers.country) as country,
        companies.industry,
        companies.employees,
        customers.currency,
        companies.owner_id,
        companies.contract_term_months,
        companies.renewal_date,
        customers.created_at
    from customers
    left join kept
        on customers.customer_id = kept.customer_id
    left join companies
        on kept.hubspot_company_id = companies.hubspot_company_id

)

select * from final
