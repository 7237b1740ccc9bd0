with

source as (

    select
        *,
        {{ load_rank('id', '_fivetran_synced') }} as load_rank
    from {{ source('raw_hubspot', 'company') }}

),

renamed as (

    select
        ---------- ids
        cast(id as {{ dbt.type_string() }}) as hubspot_company_id,
        property_stripe_customer_id as stripe_customer_id,
        property_workspace_id as workspace_id,
        cast(property_hubspot_owner_id as {{ dbt.type_string() }}) as owner_id,
        ---------- attributes
        property_name as company_name,
        lower(trim(property_domain)) as domain,
        property_industry as industry,
        property_country as country,
        lower(property_lifecyclestage) as lifecycle_stage,
        {{ whole_number('property_numberofemployees') }} as employees,
        {{ whole_number('property_contract_term_months') }} as contract_term_months,
        cast({{ utc_timestamp('property_renewal_date') }} as date) as renewal_date,
        {{ true_or_false('is_deleted') }} as is_deleted,
        ---------- timestamps
        {{ utc_timestamp('property_createdate') }} as created_at,
        {{ utc_timestamp('_fivetran_synced') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

),

known as (

    select *
    from renamed
    where
        created_at <= {{ as_of_at() }}
        and not is_deleted

)

select * from known
