-- Deals of the CRM with the customer they are about.
with

deals as (

    select *
    from {{ sources_union(
        {'hubspot': 'stg_hubspot__deals', 'salesforce': 'stg_salesforce__opportunities'},
        {
            'deal_id': dbt.type_string(),
            'company_id': dbt.type_string(),
            'pipeline': dbt.type_string(),
            'is_closed': 'boolean',
            'is_won': 'boolean',
            'amount': 'decimal(18, 2)',
            'created_at': dbt.type_timestamp(),
            'closed_at': dbt.type_timestamp(),
        },
        {
            'hubspot': {'company_id': 'hubspot_company_id'},
            'salesforce': {'company_id': 'salesforce_account_id'},
        },
    ) }}

),

customers as (

    select * from {{ ref('int_customers__identified') }}

),

final as (

    select
        {{ dbt.concat(['deals.source_name', "'-'", 'deals.deal_id']) }} as deal_id,
        coalesce(by_hubspot.customer_id, by_salesforce.customer_id) as customer_id,
        deals.pipeline,
        coalesce(lower(deals.pipeline) like '%renew%', false) as is_renewal,
        deals.is_closed,
        deals.is_won,
        deals.amount,
        deals.created_at,
        deals.closed_at
    from deals
    left join customers as by_hubspot
        on
            deals.source_name = 'hubspot'
            and deals.company_id = by_hubspot.hubspot_company_id
    left join customers as by_salesforce
        on
            deals.source_name = 'salesforce'
            and deals.company_id = by_salesforce.salesforce_account_id
    where coalesce(by_hubspot.customer_id, by_salesforce.customer_id) is not null

)

select * from final
