-- A customer with the records of the other systems that belong to it.
with

customers as (

    select * from {{ ref('int_customers__eligible') }}

),

links as (

    select * from {{ ref('int_customer_links__resolved') }}

),

companies as (

    select *
    from {{ sources_union(
        {'hubspot': 'stg_hubspot__companies', 'salesforce': 'stg_salesforce__accounts'},
        {
            'company_id': dbt.type_string(),
            'owner_id': dbt.type_string(),
            'domain': dbt.type_string(),
            'country': dbt.type_string(),
            'industry': dbt.type_string(),
            'employees': 'bigint',
            'contract_term_months': 'bigint',
            'renewal_date': 'date',
        },
        {'hubspot': {'company_id': 'hubspot_company_id'}, 'salesforce': {'company_id': 'salesforce_account_id'}},
    ) }}

),

kept as (

    select
        customer_id,
        max(case when record_kind = 'workspace' then record_id end) as workspace_id,
        max(case when record_kind = 'company' then record_id end) as hubspot_company_id,
        max(case when record_kind = 'account' then record_id end) as salesforce_account_id,
        max(case when record_kind = 'organization' then record_id end) as zendesk_organization_id,
        max(case when record_kind = 'intercom_company' then record_id end) as intercom_company_id
    from links
    where is_kept
    group by customer_id

),

final as (

    select
        customers.customer_id,
        kept.workspace_id,
        kept.hubspot_company_id,
        kept.salesforce_account_id,
        kept.zendesk_organization_id,
        kept.intercom_company_id,
        customers.customer_name,
        coalesce(companies.domain, customers.domain) as domain,
        coalesce(companies.country, customers.country) as country,
        companies.industry,
        companies.employees,
        customers.currency,
        companies.owner_id,
        companies.source_name as crm,
        companies.contract_term_months,
        companies.renewal_date,
        customers.created_at
    from customers
    left join kept
        on customers.customer_id = kept.customer_id
    -- one CRM describes a customer: HubSpot, where it has a company there
    left join companies
        on
            coalesce(kept.hubspot_company_id, kept.salesforce_account_id) = companies.company_id
            and companies.source_name = case when kept.hubspot_company_id is null then 'salesforce' else 'hubspot' end

)

select * from final
